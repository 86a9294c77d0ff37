"""Identity proofing by a platform operator: one documented contract is shipped, others are data (`profile`)."""

from idp.proofing.platform_operator.backend import PlatformOperatorBackend as PlatformOperatorBackend
from idp.proofing.platform_operator.backend import platform_operator_backend as platform_operator_backend
from idp.proofing.platform_operator.settings import PlatformOperatorSettings as PlatformOperatorSettings
