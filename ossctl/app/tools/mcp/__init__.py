"""Functions of MCP servers: programs on this machine or URLs that speak the Model Context Protocol."""
