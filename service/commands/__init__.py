"""Commands of ``callscope`` that look at what is recorded; each a function that typer understands."""
