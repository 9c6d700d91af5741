"""llama.cpp behind a narrow interface: the only folder that imports its bindings."""
