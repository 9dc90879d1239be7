"""``python -m cpsim_kit.cli``."""

import sys

from cpsim_kit.cli.main import main

sys.exit(main())
