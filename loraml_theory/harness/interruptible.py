"""Imported first by the process that workers are forked from; Ctrl-C ends it at once while it imports what they need.

It starts with Ctrl-C held back, so that it prints no traceback, and a Ctrl-C of that time ends it here. Once it has
imported all and waits for work it is deaf to it.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
