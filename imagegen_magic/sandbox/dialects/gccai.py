"""The dialect of gccai, which is apimart's."""

from __future__ import annotations

from imagegen_magic.sandbox.dialects.apimart import Apimart

DIALECT = Apimart("gccai")
