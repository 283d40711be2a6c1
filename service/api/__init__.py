"""The routes, one router a file; :func:`service.api.mounting.mount_admin` brings those of an own application."""
