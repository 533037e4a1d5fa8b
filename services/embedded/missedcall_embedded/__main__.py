"""`python -m missedcall_embedded` is the `missedcall` command."""

import sys

from .cli import main

sys.exit(main())
