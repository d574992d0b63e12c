"""Refusals of a key or its project, and of who uses it: Google's 400, 401 and 403.

The bodies are Google's own as public reports show them, each named here as owner/repository#issue. Those of
the Interactions API are those that its clients know.
"""

from __future__ import annotations

from proxycore.demo.refusal import METHOD, SERVICE, TYPE, UNAUTHENTICATED, Refusal, because, help_link

_CONSUMER = "projects/$project"
_ACTIVATION = f"https://console.developers.google.com/apis/api/{SERVICE}/overview?project=$project"

# Dead. The first is in continuedev/continue#8516, the second in google-gemini/gemini-cli#25198.
INVALID = Refusal(
    400,
    "API key not valid. Please pass a valid API key.",
    because("API_KEY_INVALID"),
    openai="Please pass a valid API key",
    interactions=UNAUTHENTICATED,
)
UNKNOWN = Refusal(
    400,
    "API Key not found. Please pass a valid API key.",
    because("API_KEY_INVALID"),
    openai="Please pass a valid API key",
    interactions=UNAUTHENTICATED,
)
EXPIRED = Refusal(
    400,
    "API key expired. Please renew the API key.",
    because("API_KEY_INVALID"),
    interactions=UNAUTHENTICATED,
)
SUSPENDED = Refusal(  # continuedev/continue#10902, and google/timesketch#3703 for the DebugInfo
    403,
    "Permission denied: Consumer 'api_key:$key' has been suspended.",
    (
        *because("CONSUMER_SUSPENDED", consumer=_CONSUMER, containerInfo="api_key:$key"),
        {"@type": f"{TYPE}DebugInfo", "detail": "Suspended API key: $key"},
    ),
)
LEAKED = Refusal(403, "Your API key was reported as leaked. Please use another API key.")  # continue#11541

# The project or the key as a whole.
DENIED = Refusal(403, "Your project has been denied access. Please contact support.")  # poenl/gemini-api#8
SERVICE_DISABLED = Refusal(  # google-gemini/deprecated-generative-ai-python#10
    403,
    "Generative Language API has not been used in project $project before or it is disabled. Enable it by"
    f" visiting {_ACTIVATION} then retry. If you enabled this API recently, wait a few minutes for the"
    " action to propagate to our systems and retry.",
    (
        *because(
            "SERVICE_DISABLED",
            consumer=_CONSUMER,
            containerInfo="$project",
            serviceTitle="Generative Language API",
            activationUrl=_ACTIVATION,
        ),
        help_link("Google developers console API activation", _ACTIVATION),
    ),
)
SERVICE_BLOCKED = Refusal(  # continuedev/continue#12781
    403,
    f"Requests to this API {SERVICE} method {METHOD} are blocked.",
    because("API_KEY_SERVICE_BLOCKED", consumer=_CONSUMER, apiName=SERVICE, methodName=METHOD),
)
BILLING_COUNTRY = Refusal(
    403, f"Access to {SERVICE} is restricted from your billing country and was denied for $project."
)

# The caller: where the request comes from, and on whose behalf. The reasons are those of
# googleapis/googleapis, google/api/error_reason.proto.
REFERRER_BLOCKED = Refusal(  # mhawksey/GeminiApp#10
    403,
    "Requests from referer $referrer are blocked.",
    because("API_KEY_HTTP_REFERRER_BLOCKED", consumer=_CONSUMER, httpReferrer="$referrer"),
)
IP_BLOCKED = Refusal(
    403,
    "The provided API key has an IP address restriction. The originating IP address of the call"
    " ($address) violates this restriction.",
    because("API_KEY_IP_ADDRESS_BLOCKED", consumer=_CONSUMER),
)
ANDROID_BLOCKED = Refusal(
    403,
    "Requests from this Android client application <empty> are blocked.",
    because("API_KEY_ANDROID_APP_BLOCKED", consumer=_CONSUMER, androidPackage="<empty>"),
)
IOS_BLOCKED = Refusal(
    403,
    "Requests from this iOS client application <empty> are blocked.",
    because("API_KEY_IOS_APP_BLOCKED", consumer=_CONSUMER, iosBundleId="<empty>"),
)
SCOPES = Refusal(
    403,
    "Request had insufficient authentication scopes.",
    because("ACCESS_TOKEN_SCOPE_INSUFFICIENT", method=METHOD),
)
USER_PROJECT = Refusal(
    403,
    "Caller does not have required permission to use project $project. Grant the caller the"
    " roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use"
    " permission.",
    because("USER_PROJECT_DENIED", consumer=_CONSUMER),
)

# The network: the address that the request comes from, whatever the key (google-gemini/gemini-cli#24641).
REGION = Refusal(400, "User location is not supported for the API use.", status="FAILED_PRECONDITION")
