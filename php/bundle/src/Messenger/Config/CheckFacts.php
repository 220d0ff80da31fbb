<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * What `fervo-worker check --call-script` compares: PHP's settings in php-fpm, which `check` asks of PHP's command line, too, and the
 * files of the application that the user of the pool needs.
 *
 * @internal
 */
final class CheckFacts
{
    /** Settings that handlers can notice. */
    public const SETTINGS = [...PoolFile::VALUES, 'allow_url_fopen', 'disable_functions', 'pcre.jit', 'zend.exception_ignore_args'];

    /** Files with the application's secrets and variables, below its folder; "%s" is the environment. */
    private const SECRETS = ['.env', '.env.local', '.env.%s', '.env.%s.local', '.env.local.php', 'config/secrets/%s/*.decrypt.private.php'];

    public function __construct(
        private readonly string $projectDir,
        private readonly string $environment,
        private readonly string $cacheDir,
    ) {
    }

    /** @return array{php: array{version: string, extensions: list<string>, settings: array<string, string>}, files: array{user: string, unreadable: list<string>, unwritable: list<string>}} */
    public function read(): array
    {
        $all = ini_get_all(null, true);
        $settings = [];
        foreach (self::SETTINGS as $name) {
            // As PHP has started with it: the application may have changed it since.
            if (isset($all[$name])) {
                $settings[$name] = (string) $all[$name]['global_value'];
            }
        }
        $extensions = array_map(strtolower(...), get_loaded_extensions());
        sort($extensions);
        $user = \function_exists('posix_getpwuid') ? posix_getpwuid(posix_geteuid()) : false;

        return [
            'php' => ['version' => \PHP_VERSION, 'extensions' => $extensions, 'settings' => $settings],
            'files' => [
                'user' => false === $user ? '' : $user['name'],
                'unreadable' => $this->unreadable(),
                'unwritable' => is_dir($this->cacheDir) && !is_writable($this->cacheDir) ? [$this->cacheDir] : [],
            ],
        ];
    }

    /** @return list<string> */
    private function unreadable(): array
    {
        $unreadable = [];
        foreach (self::SECRETS as $pattern) {
            $path = $this->projectDir.'/'.\sprintf($pattern, $this->environment);
            foreach (str_contains($path, '*') ? $this->find($path, $unreadable) : [$path] as $file) {
                if (file_exists($file) && !is_readable($file)) {
                    $unreadable[] = $file;
                }
            }
        }

        return $unreadable;
    }

    /**
     * @param list<string> $unreadable gets the folder, where that cannot be searched
     *
     * @return list<string>
     */
    private function find(string $pattern, array &$unreadable): array
    {
        $folder = \dirname($pattern);
        if (is_dir($folder) && !(is_readable($folder) && is_executable($folder))) {
            $unreadable[] = $folder;

            return [];
        }

        return glob($pattern) ?: [];
    }
}
