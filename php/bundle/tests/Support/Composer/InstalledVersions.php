<?php

declare(strict_types=1);

namespace Composer;

/**
 * As much of Composer's as Symfony asks for, where packages are Debian's. None is Composer's: Symfony then goes by the classes
 * that are there.
 */
final class InstalledVersions
{
    public static function isInstalled(string $package, bool $includeDevRequirements = true): bool
    {
        return false;
    }

    /** @return array{name: string} */
    public static function getRootPackage(): array
    {
        return ['name' => '__root__'];
    }
}
