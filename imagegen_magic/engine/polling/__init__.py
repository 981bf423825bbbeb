"""Who asks a gateway about its tasks, and when. What an answer means for a task belongs in `jobs`."""
