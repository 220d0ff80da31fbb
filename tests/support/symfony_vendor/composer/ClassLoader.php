<?php

namespace Composer\Autoload;

/** As much of Composer's as Symfony looks for: it writes its file for opcache.preload only where it finds Composer. */
final class ClassLoader
{
    /** @param array<string, string> $folders by prefix of the namespace, PSR-4 */
    public function __construct(private readonly array $folders)
    {
    }

    public function loadClass(string $class): void
    {
        if (false !== $file = $this->findFile($class)) {
            require $file;
        }
    }

    /** @return array<string, string> */
    public function getClassMap(): array
    {
        return [];
    }

    public function findFile(string $class): string|false
    {
        foreach ($this->folders as $prefix => $folder) {
            if (str_starts_with($class, $prefix)) {
                $file = $folder . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';

                return is_file($file) ? $file : false;
            }
        }

        return false;
    }
}
