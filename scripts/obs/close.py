#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Closes the windows whose titles begin with a word, as a click on their cross does.   close.py TITLE

There is no window manager on a display of Xvfb, which programs that close windows talk to; so this asks the program itself.
"""

import ctypes
import sys


class ClientMessage(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        # An XEvent is as long as its longest kind.
        ("rest", ctypes.c_long * 24),
    ]


CLIENT_MESSAGE = 33


def main():
    title = sys.argv[1].encode()
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = x11.XDefaultRootWindow.restype = ctypes.c_ulong
    display = x11.XOpenDisplay(None)
    if not display:
        sys.exit("no display: set DISPLAY")
    display = ctypes.c_void_p(display)
    root = ctypes.c_ulong(x11.XDefaultRootWindow(display))

    children, count = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
    ignored = ctypes.c_ulong()
    x11.XQueryTree(display, root, *(ctypes.byref(out) for out in (ignored, ignored, children, count)))
    closed = 0
    for window in children[: count.value]:
        name = ctypes.c_char_p()
        x11.XFetchName(display, ctypes.c_ulong(window), ctypes.byref(name))
        if name.value and name.value.startswith(title):
            message = ClientMessage(type=CLIENT_MESSAGE, window=window, format=32)
            message.message_type = x11.XInternAtom(display, b"WM_PROTOCOLS", False)
            message.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", False)
            x11.XSendEvent(display, ctypes.c_ulong(window), False, ctypes.c_long(0), ctypes.byref(message))
            closed += 1
    x11.XSync(display, False)
    if not closed:
        sys.exit(f"no window whose title begins with {sys.argv[1]}")


if __name__ == "__main__":
    main()
