# SPDX-License-Identifier: MPL-2.0
"""Videos rendered by many machines: Celery in front of `lipsync work`. See README.md."""
