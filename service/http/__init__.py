"""Parts that all routers share: problem details, security, bodies, responses and readiness."""
