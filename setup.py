"""What ``pip install .`` installs: the SDK and the packages it stands on; pyproject.toml says the rest.

The server itself runs from the project's folder (start_server.sh), beside its samples/ and configs/.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["streamserver*", "passflow*"]), "streamserver.configs"],
    package_dir={"streamserver.configs": "configs"},
    package_data={"streamserver.configs": ["*.yaml", "labels/*.txt"], "streamserver.web": ["templates/*"]},
)
