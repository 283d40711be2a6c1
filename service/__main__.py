"""``python -m service`` is ``callscope``."""

from service.cli import main

main()
