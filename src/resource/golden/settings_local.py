# rendered by portreeve; changes here are undone by its next pass
DEBUG = False
SECRET_KEY = "s3cr$t'\"\\key"
ALLOWED_HOSTS = ["bakery.example", ".bakery.example"]
CSRF_TRUSTED_ORIGINS = ["http://bakery.example", "https://bakery.example", "http://*.bakery.example", "https://*.bakery.example"]
SECURE_SSL_REDIRECT = False
STATIC_URL = "/static/"
STATIC_ROOT = "/home/foouser/bakery/pro/static"
MEDIA_URL = "/media/"
MEDIA_ROOT = "/home/foouser/bakery/pro/media"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/home/foouser/bakery/pro/data/db.sqlite3", "OPTIONS": {"timeout": 20}}}

# [settings]
EMAIL_HOST = "localhost"
