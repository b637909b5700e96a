"""moto's server with the answers that it lacks and that a test cannot do without.

Takes moto_server's arguments. What is added here answers as AWS documents it for what was never set;
nothing here can be set. (How AWS behaves when it is, is shown against the stand-in in tests/aws.)
Functions are not run, which would take Docker: they answer as those that are well.

moto was not written for several threads, and fails a call now and then when many come at once. So they
are answered one after the other.
"""

import io
import json
from threading import Lock
from urllib.parse import parse_qs

from moto.awslambda import urls
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core.config import default_user_config
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3.models import FakeBucket
from moto.server import main


def no_provisioned_concurrency(request, full_url, headers):
    """GetProvisionedConcurrencyConfig of an alias that has none."""
    error = "ProvisionedConcurrencyConfigNotFoundException"
    body = {"Type": "User", "Message": "No Provisioned Concurrency Config found for this function"}
    return 404, {"x-amzn-ErrorType": error, "Content-Type": "application/json"}, json.dumps(body)


def is_well(self, function_name, qualifier, body, headers, response_headers):
    """What function alarm answers to an account without alarms, and a service to GET /healthz."""
    return b"0" if "MetricAlarms" in json.loads(body) else b'{"statusCode": 200, "body": "ok"}'


def nobody_is_denied(self, action, resource):
    """What a bucket's policy says of a call: moto looks at no condition, and so would deny TLS as well."""
    return PermissionResult.NEUTRAL


def one_at_a_time(answer):
    """An application that gives one request at a time to `answer`, but for what waits itself."""
    turn = Lock()

    def application(self, environ, start_response):
        # All of a request is here before its turn: a slow client keeps nobody waiting.
        if length := int(environ.get("CONTENT_LENGTH") or 0):
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        if waits(environ):
            return answer(self, environ, start_response)
        with turn:
            return answer(self, environ, start_response)

    return application


def waits(environ):
    """Whether a call waits for a message, or for whomever it tells over HTTP, who may ask meanwhile."""
    operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        form = environ["wsgi.input"]
        form = form.getvalue().decode() if isinstance(form, io.BytesIO) else ""
        operation = parse_qs(form).get("Action", [operation])[0]
    return operation in ("ReceiveMessage", "Publish", "PublishBatch")


FUNCTION = r"{0}/(?P<api_version>[^/]+)/functions/(?P<function_name>[\w_:%-]+)"
urls.url_paths[FUNCTION + "/provisioned-concurrency$"] = no_provisioned_concurrency
LambdaSimpleBackend.invoke = is_well
FakeBucket.get_permission = nobody_is_denied
DomainDispatcherApplication.__call__ = one_at_a_time(DomainDispatcherApplication.__call__)
default_user_config["lambda"] = {"use_docker": False}

main()
