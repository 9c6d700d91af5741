"""What ossctl brings to Inspect AI. Only modules in here import it."""
