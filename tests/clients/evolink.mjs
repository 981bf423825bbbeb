// EvoLink's MCP server for another address than its own: node evolink.mjs BASE_URL. It reads and writes JSON-RPC, a message a line.
import { MODELS, findModel } from "@evolinkai/evolink-media/dist/core/src/data/models.js";
import { createServer } from "@evolinkai/evolink-media/dist/core/src/server.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

MODELS.push({ ...findModel("gpt-image-1.5"), name: "gpt-image-2" }); // its list of models is older than this one

await createServer({ channel: "official", baseUrl: process.argv[2] }).connect(new StdioServerTransport());
