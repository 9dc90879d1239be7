"""A Lambda function: its package, and its environment. A change is asked for, and then waited for.

AWS Lambda developer guide, "Lambda function states": while an update is in progress, another one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cpsim_kit.aws.function_code import LARGEST_PACKAGE, Handler
from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.waiting import poll_until
from cpsim_kit.errors import AwsError

__all__ = ["LambdaFunction"]

_UPDATE_TIMEOUT = 120  # seconds
_IN_PROGRESS = "ResourceConflictException"  # AWS's answer while another update is in progress


class LambdaFunction:
    """A Lambda function of a package (zip file), as :meth:`read` has found it.

    Args:
        aws: The door to boto3.
        name: Its name.
        configuration: As GetFunction returns it.
        location: Where its package can be downloaded, for ten minutes.
    """

    def __init__(self, aws: Aws, name: str, configuration: Mapping[str, Any], location: str) -> None:
        self._aws = aws
        self.name = name
        self._configuration = configuration
        self._location = location

    @classmethod
    async def read(cls, aws: Aws, name: str) -> LambdaFunction:
        """Read a function once no update is in progress.

        Raises:
            NotFound: There is no such function.
            AwsError: AWS refused; or the function is a container image, or its package is too large to be replaced.
        """
        await _settled(aws, name)
        answer = await aws.call("lambda.get_function", FunctionName=name)
        configuration = answer["Configuration"]
        location = answer.get("Code", {}).get("Location")
        if configuration.get("PackageType", "Zip") != "Zip" or not location:
            message = f"the function {name} is a container image, which has no module that can be replaced"
            raise AwsError(message, verb="lambda.get_function")
        function = cls(aws, name, configuration, location)
        function._check_size(configuration.get("CodeSize", 0))
        return function

    @property
    def handler(self) -> Handler:
        """What Lambda calls."""
        return Handler(self._configuration.get("Handler", ""))

    @property
    def runtime(self) -> str:
        """E.g. "python3.9"."""
        return str(self._configuration.get("Runtime", ""))

    @property
    def role(self) -> str:
        """The name of its role."""
        return str(self._configuration["Role"]).rpartition("/")[2]

    @property
    def log_group(self) -> str:
        """The log group in CloudWatch Logs; it is there once the function has run."""
        group: str | None = self._configuration.get("LoggingConfig", {}).get("LogGroup")
        return group or f"/aws/lambda/{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its environment.

        Raises:
            AwsError: AWS could not decrypt them.
        """
        environment = self._configuration.get("Environment", {})
        if error := environment.get("Error"):
            message = f"the environment of the function {self.name} cannot be read: {error.get('Message', error)}"
            raise AwsError(message, verb="lambda.get_function", code=error.get("ErrorCode", ""))
        return dict(environment.get("Variables", {}))

    async def package(self) -> bytes:
        """Download its package."""
        return await self._aws.download("lambda.get_function", self._location)

    async def put_package(self, package: bytes) -> datetime:
        """Begin to replace its package; :meth:`wait_in_use` waits for the end.

        Returns:
            When AWS began, by AWS's clock.

        Raises:
            AwsError: AWS refused, or the package is too large.
            WaitTimeout: Another update has been in progress for two minutes.
        """
        self._check_size(len(package))
        architectures = self._configuration.get("Architectures")
        options = {"Architectures": architectures} if architectures else {}
        return await self._update("lambda.update_function_code", ZipFile=package, **options)

    async def put_environment(self, variables: Mapping[str, str]) -> None:
        """Begin to replace all variables of its environment; raises as :meth:`put_package` does."""
        await self._update("lambda.update_function_configuration", Environment={"Variables": dict(variables)})

    async def wait_in_use(self) -> None:
        """Wait until the last update is in use.

        Raises:
            AwsError: AWS refused, or the update has failed.
            WaitTimeout: It is still in progress after two minutes.
        """
        last = await _settled(self._aws, self.name)
        for status, reason in (("LastUpdateStatus", "LastUpdateStatusReason"), ("State", "StateReason")):
            if last.get(status) == "Failed":
                message = f"the function {self.name}: {status} is Failed: {last.get(reason) or 'AWS does not say why'}"
                verb = "lambda.get_function_configuration"
                raise AwsError(message, verb=verb, code=last.get(f"{reason}Code", ""))

    async def _update(self, verb: str, **parameters: Any) -> datetime:
        async def update() -> dict[str, Any] | None:
            try:
                return await self._aws.call(verb, FunctionName=self.name, **parameters)
            except AwsError as exc:
                if exc.code != _IN_PROGRESS:
                    raise
            return None

        await _settled(self._aws, self.name)
        what = f"AWS Lambda to take an update of the function {self.name}"
        answer = await poll_until(update, what, _UPDATE_TIMEOUT, longest=2)
        return _moment(answer.get("LastModified", ""))

    def _check_size(self, size: int) -> None:
        if size > LARGEST_PACKAGE:
            raise AwsError(
                f"the package of the function {self.name} has {size / 2**20:.0f} MB; AWS Lambda takes no more than "
                f"{LARGEST_PACKAGE // 2**20} MB without a bucket. Bundle less, or move libraries to a layer",
                verb="lambda.update_function_code",
            )


async def _settled(aws: Aws, name: str) -> dict[str, Any]:
    """Wait until no update of a function is in progress, and return its configuration.

    Raises:
        AwsError: AWS refused.
        WaitTimeout: One is still in progress after two minutes.
    """
    last: dict[str, Any] = {}

    async def look() -> bool:
        last.update(await aws.call("lambda.get_function_configuration", FunctionName=name))
        return last.get("LastUpdateStatus") != "InProgress" and last.get("State") != "Pending"

    what = f"the last update of the function {name} to be in use"
    await poll_until(look, what, _UPDATE_TIMEOUT, last_seen=lambda: last.get("LastUpdateStatus"))
    return last


def _moment(text: str) -> datetime:
    """When AWS modified a function; its clock and this computer's may differ."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
