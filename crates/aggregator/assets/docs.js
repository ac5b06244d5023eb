// Shows /openapi.json. Nothing is asked of any other server: no validator, no fonts, no telemetry.
"use strict";
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  domNode: document.getElementById("interface"),
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
});
