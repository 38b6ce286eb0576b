#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""django_app.py DATABASE - a Django application that keeps its connection open (CONN_MAX_AGE None) and knows of nothing else.

Migrates the database when it starts. Then each line of stdin is a request ("GET /notes", "POST /notes TEXT", "POST /users NAME",
"GET /journal"; "stop" ends) that goes through Django's own request handler, signals included; each answer is a line: the status, how many
connections were ever made, and the body."""

import json
import os
import sys
from io import BytesIO
from urllib.parse import quote

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["app"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1], "CONN_MAX_AGE": None}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    LOGGING_CONFIG=None,
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

made = []
connection_created.connect(lambda **_: made.append(1), weak=False)


def notes(request):
    if request.method == "POST":
        with transaction.atomic():
            Group.objects.create(name=request.GET["text"])
    return JsonResponse([g.name for g in Group.objects.order_by("id")], safe=False)


def users(request):
    if request.method == "POST":
        User.objects.create_user(request.GET["text"], password="secret")
    return JsonResponse([u.username for u in User.objects.order_by("id") if u.check_password("secret")], safe=False)


def journal(request):
    with connection.cursor() as cursor:
        return JsonResponse(list(cursor.execute("PRAGMA journal_mode").fetchone()), safe=False)


urlpatterns = [path("notes", notes), path("users", users), path("journal", journal)]


def request(application, method, where, text):
    answer = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": where,
        "QUERY_STRING": f"text={quote(text)}",
        "SERVER_NAME": "app",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    response = application(environ, lambda status, headers: answer.append(status.split(" ")[0]))
    body = b"".join(response).decode()
    response.close()
    return answer[0], body


def main():
    call_command("migrate", verbosity=0)
    if "JOURNAL" in os.environ:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=" + os.environ["JOURNAL"])
    application = get_wsgi_application()
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, "stop\n"):
        method, where, text = (line.split(maxsplit=2) + [""])[:3]
        status, body = request(application, method, where, text.strip())
        print(status, len(made), json.dumps(json.loads(body)) if status == "200" else "error", flush=True)


main()
