<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Support;

use Symfony\Component\Runtime\SymfonyRuntime;

/** An application's folder, as Composer has it: the package in vendor/ as a symbolic link. */
final class Project
{
    public static function create(): string
    {
        $folder = Folder::create();
        mkdir($folder.'/vendor/fervo', 0700, true);
        symlink(\dirname(__DIR__, 2), $folder.'/vendor/fervo/deferred-event-bundle');
        file_put_contents($folder.'/vendor/autoload.php', '<?php require '.var_export(\dirname(__DIR__).'/autoload.php', true).';');

        return $folder;
    }

    /**
     * vendor/autoload_runtime.php, from symfony/runtime's own template and as its plugin writes it.
     *
     * @param array<string, mixed> $extra extra.runtime of composer.json
     */
    public static function addRuntime(string $folder, array $extra = []): void
    {
        $class = $extra['class'] ?? SymfonyRuntime::class;
        $projectDir = isset($extra['project_dir']) ? 'dirname(__DIR__).'.var_export('/'.$extra['project_dir'], true) : 'dirname(__DIR__)';
        unset($extra['class'], $extra['project_dir']);
        $template = \dirname((string) (new \ReflectionClass(SymfonyRuntime::class))->getFileName()).'/Internal/autoload_runtime.template';
        file_put_contents($folder.'/vendor/autoload_runtime.php', strtr((string) file_get_contents($template), [
            '%project_dir%' => $projectDir,
            '%runtime_class%' => var_export($class, true),
            '%runtime_options%' => '['.substr(var_export($extra, true), 7, -1)."  'project_dir' => $projectDir,\n]",
        ]));
    }

    public static function script(string $folder): string
    {
        return $folder.'/vendor/fervo/deferred-event-bundle/bin/fervo-run.php';
    }
}
