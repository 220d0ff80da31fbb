<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Support;

/** Temporary folders, removed when PHP ends. */
final class Folder
{
    public static function create(): string
    {
        $folder = sys_get_temp_dir().'/fervo-bundle-'.bin2hex(random_bytes(6));
        mkdir($folder, 0700);
        $owner = getmypid();
        register_shutdown_function(static function () use ($folder, $owner): void {
            if (getmypid() === $owner) {
                self::remove($folder);
            }
        });

        return $folder;
    }

    private static function remove(string $folder): void
    {
        $files = new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator($folder, \FilesystemIterator::SKIP_DOTS), \RecursiveIteratorIterator::CHILD_FIRST);
        foreach ($files as $file) {
            $file->isDir() && !$file->isLink() ? @rmdir($file->getPathname()) : @unlink($file->getPathname());
        }
        @rmdir($folder);
    }
}
