"""Sources that are asked for by their place in the registry, as models of a project."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from roastery.errors import ConfigError
from roastery.project import Project
from roastery.reference_uri import SCHEME, is_reference
from roastery.registry.catalog import Catalog
from roastery.registry.sources import newest_sources, source_spec

_GLOB = frozenset("*?[")


def with_registered(
    project: Project, names: Sequence[str], catalog: Callable[[], Catalog]
) -> tuple[Project, tuple[str, ...]]:
    """The project, with the registered sources among those names, and the names by which it has them.

    `models:/mask_*` is the newest version of each source of such a name. An alias becomes the version that holds it
    now.

    Raises:
        ConfigError: a name that is none, or that the registry does not have.
        RegistryDamaged, RegistryRefused, RegistryUnavailable: as `source_spec`.
    """
    if not any(is_reference(name) for name in names):
        return project, tuple(names)
    registry, models, found = catalog(), dict(project.models), []
    for name in names:
        for each in _expanded(registry, name):
            # What is there already may have been changed by who asks.
            if each in models or not is_reference(each):
                found.append(each)
                continue
            spec = source_spec(registry, each)
            models[spec.weights] = spec
            found.append(spec.weights)
    return project.model_copy(update={"models": models}), tuple(dict.fromkeys(found))


def _expanded(registry: Catalog, name: str) -> list[str]:
    pattern = name.removeprefix(SCHEME)
    if not is_reference(name) or not _GLOB & set(pattern):
        return [name]
    newest = newest_sources(registry)
    matched = sorted(each for each in newest if fnmatchcase(each, pattern))
    if not matched:
        raise ConfigError(f"{name}: no such source is registered in {registry.tracking_uri}; see `roastery models`")
    return [f"{SCHEME}{each}/{newest[each].version}" for each in matched]
