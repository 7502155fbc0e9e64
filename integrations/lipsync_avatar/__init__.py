# SPDX-License-Identifier: MPL-2.0
"""The presenter of gst-plugin-lipsync in programs on asyncio: `presenter` for any, `livekit` and `pipecat` for those frameworks.

Nothing is imported here, so that each module needs its own framework only.
"""
