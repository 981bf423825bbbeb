"""The layout of the panel: JupyterLab's theme variables, two columns if there is room, else one."""

from __future__ import annotations

from imagegen_magic.notebook.panel.static_sheet import HIDE_SHEET, PANEL_CLASS
from imagegen_magic.notebook.progress import html, sweep_grid

_RULES = """
.PANEL{display:block;container-type:inline-size;box-sizing:border-box;width:100%;margin:0;padding:2px;overflow:visible;
 font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);color:var(--jp-ui-font-color1,inherit)}
.PANEL .imagegen-columns{display:grid;grid-template-columns:minmax(0,1fr);gap:14px 28px;width:auto;margin:0;
 overflow:visible;align-items:start}
@container (min-width:860px){.PANEL .imagegen-columns{grid-template-columns:minmax(360px,5fr) minmax(0,7fr)}}
@container (min-width:1250px){.PANEL .imagegen-columns{grid-template-columns:524px minmax(0,1fr)}}
.PANEL .imagegen-sides{display:contents}
.PANEL .imagegen-sides>*{order:3;min-width:0}.PANEL .imagegen-sides>.imagegen-first{order:1}.PANEL .imagegen-sides>.imagegen-second{order:2}
@container (min-width:860px){.PANEL .imagegen-sides{display:flex;flex-direction:column;gap:14px;width:auto;min-width:0;margin:0;
 overflow:visible}.PANEL .imagegen-sides>*{flex:none}}
.PANEL .imagegen-column{display:flex;flex-direction:column;gap:14px;width:auto;min-width:0;margin:0;overflow:visible}
.PANEL .imagegen-column>*{flex:none;min-width:0}
.PANEL .imagegen-knobs{display:flex;flex-flow:row wrap;gap:12px 20px;width:auto;margin:0;overflow:visible;align-items:flex-start}
.PANEL .imagegen-stack{display:flex;flex-direction:column;gap:6px;width:auto;margin:0;overflow:visible}
.PANEL .imagegen-fold,.PANEL .imagegen-folds{display:block;width:auto;margin:0;overflow:visible}
.PANEL .imagegen-fold{border-top:1px solid var(--jp-border-color2,rgba(127,127,127,.3))}
.PANEL .imagegen-folds{border-bottom:1px solid var(--jp-border-color2,rgba(127,127,127,.3))}
.PANEL .imagegen-fold>.imagegen-fold-body{gap:12px;padding:2px 0 16px}
.PANEL .imagegen-fold-body>:is(.imagegen-stack:empty,.widget-html:has(>.widget-html-content:empty)){display:none}
.PANEL .imagegen-fold:not(:has(.imagegen-fold-button[aria-expanded="true"]))>.imagegen-fold-body{display:none}
.PANEL .imagegen-grid{display:block;width:auto;margin:0;overflow:visible}
.PANEL .imagegen-mosaic{flex-wrap:wrap}.PANEL .imagegen-mosaic b{max-width:9em}
.PANEL .imagegen-mosaic span{align-self:end;font-size:var(--jp-ui-font-size0,11px);white-space:normal;overflow-wrap:anywhere}
@container (max-width:560px){.PANEL .imagegen-mosaic b{flex-basis:100%;max-width:none}.PANEL .imagegen-mosaic b:empty{display:none}}
.PANEL .imagegen-line{display:flex;flex-flow:row wrap;gap:4px 10px;width:auto;margin:0;overflow:visible;align-items:center}
.PANEL .imagegen-line>.widget-html{flex:1 1 300px;min-width:0}
.PANEL .imagegen-field{display:flex;flex-direction:column;align-items:stretch;margin:0;width:auto;height:auto;overflow:visible}
.PANEL .imagegen-field>label{width:auto;height:auto;margin:0;padding:0 0 4px;text-align:left;line-height:1.4;
 font-size:inherit;color:var(--jp-ui-font-color2,inherit)}
.PANEL .imagegen-field>select,.PANEL .imagegen-field>input{box-sizing:border-box;flex:none;width:100%;height:30px;margin:0;padding:0 8px;
 border:1px solid var(--jp-border-color1,#bdbdbd);border-radius:4px;background-color:var(--jp-layout-color1,white);
 color:inherit;font:inherit;line-height:1.4}
.PANEL .imagegen-field>select{padding-right:26px;appearance:none;background-repeat:no-repeat;background-size:5px 5px;
 background-image:linear-gradient(45deg,transparent 50%,currentColor 50%),linear-gradient(135deg,currentColor 50%,transparent 50%);
 background-position:calc(100% - 15px) 12px,calc(100% - 10px) 12px}
.PANEL .imagegen-field>input::placeholder{color:var(--jp-ui-font-color2,#6f6f6f);opacity:.9}
.PANEL .imagegen-knobs>.imagegen-grow{flex:1 1 150px}
.PANEL .imagegen-knobs>.imagegen-wide{flex:2 1 200px}.PANEL .imagegen-knobs>.imagegen-narrow{flex:0 0 88px}
.PANEL .imagegen-stack>.jupyter-button{align-self:flex-start}
.PANEL .widget-checkbox{width:auto;height:auto;margin:0;overflow:visible}
.PANEL .widget-checkbox label{display:flex;align-items:center;width:auto;height:auto;
 line-height:1.4;color:inherit;font-size:inherit}
.PANEL .widget-checkbox input{margin:0 8px 0 0;width:16px;height:16px;flex:none}
.PANEL .widget-html,.PANEL .widget-html-content{margin:0;width:auto;height:auto;line-height:1.45;overflow:visible;
 overflow-wrap:anywhere;font-size:inherit;color:inherit}
.PANEL .jupyter-button{width:auto;height:28px;margin:0;padding:0 12px;border:1px solid var(--jp-border-color1,#bdbdbd);border-radius:4px;
 background:var(--jp-layout-color1,white);color:var(--jp-ui-font-color1,inherit);font:inherit;line-height:26px;flex:none;box-shadow:none}
.PANEL .imagegen-small{height:22px;padding:0 8px;line-height:20px;align-self:flex-start}
.PANEL .jupyter-button:hover:enabled{background:var(--jp-layout-color2,#eee);box-shadow:none}
.PANEL .imagegen-fix{white-space:normal;height:auto;min-height:28px;text-align:left}
.PANEL :is(select,input,.jupyter-button):focus-visible{outline:2px solid var(--jp-brand-color1,#1976d2)!important;outline-offset:1px}
.PANEL .imagegen-heading{margin:0;font-size:inherit;font-weight:400;line-height:1.4;color:var(--jp-ui-font-color2,inherit)}
.PANEL .imagegen-summary{font-variant-numeric:tabular-nums;color:var(--jp-ui-font-color1,inherit)}
.PANEL .imagegen-summary>span{white-space:nowrap}
.PANEL .imagegen-offers{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
.PANEL .imagegen-offers :is(td,th){padding:4px 12px 4px 0;text-align:left;vertical-align:top;font-weight:400;font-size:inherit;
 white-space:nowrap;background:none;border:0;border-bottom:1px solid var(--jp-border-color2,rgba(127,127,127,.3))}
.PANEL .imagegen-offers :is(td,th):first-child{width:100%;white-space:normal}.PANEL .imagegen-offers :is(td,th):last-child{padding-right:0}
.PANEL .imagegen-offers tr:last-child td{border-bottom:0}
.PANEL .imagegen-offers th{color:var(--jp-ui-font-color2,inherit)}
.PANEL .imagegen-offers .imagegen-chosen{font-weight:600}.PANEL .imagegen-offers .imagegen-quiet{font-weight:400}
.PANEL .imagegen-warning,.PANEL .imagegen-problem,.PANEL .imagegen-message{margin-top:4px;padding-left:8px;
 border-left:3px solid var(--jp-warn-color1,#f57c00);color:var(--jp-ui-font-color1,inherit)}
.PANEL .imagegen-problem{border-left-color:var(--jp-error-color1,#d32f2f)}
.PANEL .imagegen-message{border-left-color:var(--jp-brand-color1,#1976d2)}
.PANEL .imagegen-quiet{color:var(--jp-ui-font-color2,inherit)}
.PANEL .imagegen-reference{display:flex;gap:8px;align-items:center;min-width:0}
.PANEL .imagegen-reference img{flex:none;width:36px;height:36px;object-fit:cover;border-radius:3px}
.PANEL .imagegen-reference span{min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.PANEL .imagegen-row{margin:2px 0}
.PANEL .jupyter-widget-output-area,.PANEL .widget-output{margin:0;width:auto;overflow:visible}
.PANEL .jp-OutputArea-output{padding:0;overflow:visible}
.PANEL .jp-OutputPrompt{display:none}
""".replace("PANEL", PANEL_CLASS)

STYLE = html.STYLE + sweep_grid.STYLE + HIDE_SHEET + f"<style>{_RULES}</style>"
