"""Imported first by the process that workers are forked from; Ctrl-C ends it at once while it imports what they need.

It starts deaf to Ctrl-C, so that it prints no traceback, and is deaf again once it has imported all and waits for work.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)
