<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Symfony\Component\Dotenv\Dotenv;
use Symfony\Component\HttpKernel\KernelInterface;
use Symfony\Component\Runtime\GenericRuntime;

/**
 * The application's kernel, as public/index.php has it: APP_ENV and APP_DEBUG from the FPM pool or the worker's params, else from
 * .env files, or as symfony/runtime says.
 *
 * @internal
 */
final class ApplicationKernel
{
    private const DEFAULT_CLASS = 'App\Kernel';

    public static function create(string $projectDir): KernelInterface
    {
        self::loadEnvironment($projectDir);

        return self::make($projectDir, 'APP_ENV', 'APP_DEBUG');
    }

    /**
     * Where the application's symfony/runtime has loaded the environment, by the options of composer.json.
     *
     * @param object|null $runtime the one that runs, where it is known
     */
    public static function createInRuntime(string $projectDir, ?object $runtime): KernelInterface
    {
        $options = $_SERVER['APP_RUNTIME_OPTIONS'] ?? null;
        if ($runtime instanceof GenericRuntime) {
            // Symfony 5.4 tells them to nobody.
            $options = \Closure::bind(static fn (GenericRuntime $runtime): array => $runtime->options, null, GenericRuntime::class)($runtime);
        }

        return self::make($projectDir, $options['env_var_name'] ?? 'APP_ENV', $options['debug_var_name'] ?? 'APP_DEBUG');
    }

    private static function make(string $projectDir, string $environment, string $debug): KernelInterface
    {
        $class = $_SERVER['APP_KERNEL_CLASS'] ?? self::DEFAULT_CLASS;
        if (!is_subclass_of($class, KernelInterface::class)) {
            throw new \LogicException(sprintf('There is no kernel "%s" in "%s": set APP_KERNEL_CLASS and APP_PROJECT_DIR in the FPM pool or in [fpm.NAME.params] of the worker, or write a front controller of your own.', $class, $projectDir));
        }

        return new $class($_SERVER[$environment], filter_var($_SERVER[$debug], \FILTER_VALIDATE_BOOL));
    }

    private static function loadEnvironment(string $projectDir): void
    {
        if (!self::loadDumpedEnvironment($projectDir.'/.env.local.php')
            && class_exists(Dotenv::class)
            && (is_file($projectDir.'/.env') || is_file($projectDir.'/.env.dist'))
        ) {
            (new Dotenv())->bootEnv($projectDir.'/.env');
        }
        $_SERVER['APP_ENV'] ??= $_ENV['APP_ENV'] ?? 'dev';
        $_SERVER['APP_DEBUG'] ??= $_ENV['APP_DEBUG'] ?? ('prod' !== $_SERVER['APP_ENV'] ? '1' : '0');
    }

    /** The result of `composer dump-env`, without the class that would do the same with it. */
    private static function loadDumpedEnvironment(string $file): bool
    {
        $values = is_file($file) ? include $file : null;
        if (!\is_array($values) || ($_SERVER['APP_ENV'] ?? $_ENV['APP_ENV'] ?? $values['APP_ENV'] ?? null) !== ($values['APP_ENV'] ?? null)) {
            return false;
        }
        foreach ($values as $name => $value) {
            // What the FPM pool or the worker says counts more.
            $_ENV[$name] ??= $_SERVER[$name] ?? $value;
            $_SERVER[$name] ??= $_ENV[$name];
        }

        return true;
    }
}
