"""`python -m synthcohort` is the command `synthcohort`."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
