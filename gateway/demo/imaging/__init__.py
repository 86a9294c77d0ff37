"""The demo's imaging viewer: drawn phantoms, no image of any person."""

from gateway.demo.imaging.app import create_imaging

__all__ = ["create_imaging"]
