"""What is national: native feeds and release policies. Read nations/README.md to add one."""
