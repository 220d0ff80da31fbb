<?php

declare(strict_types=1);

use Fervo\DeferredEventBundle\Worker\ApplicationKernel;
use Fervo\DeferredEventBundle\Worker\FrontController;
use Fervo\Runner\Runner;

/*
 * The front controller: PHP-FPM runs it for each request of fervo-worker. `script` in fervo-worker.toml is this file, as
 * bin/console fervo:front-controller tells.
 *
 * It runs as the application's other entry points do: by symfony/runtime, where that is installed.
 *
 * The application is the nearest folder above with a vendor/autoload.php, and its kernel App\Kernel. APP_PROJECT_DIR and
 * APP_KERNEL_CLASS, in the FPM pool or in the worker's [fpm.NAME.params], say otherwise.
 */
(static function (): void {
    // For the worker alone: before anything of the application is loaded, or told of. opcache may have preloaded the class.
    class_exists(Runner::class, false) || require dirname(__DIR__).'/runner/Runner.php';
    if (!Runner::isCalledByTheWorker()) {
        Runner::refuse();

        return;
    }

    $projectDir = $_SERVER['APP_PROJECT_DIR'] ?? null;
    // First the path as it was called: the package may be a symbolic link to somewhere else.
    foreach ([dirname($_SERVER['SCRIPT_FILENAME'] ?? __FILE__), __DIR__] as $folder) {
        // Where Composer installs it, vendor/fervo/deferred-event-bundle/bin: without a look at the folders between.
        if (null === $projectDir && is_file(dirname($folder, 4).'/vendor/autoload.php')) {
            $projectDir = dirname($folder, 4);
        }
        while (null === $projectDir && $folder !== $parent = dirname($folder)) {
            $folder = $parent;
            if (is_file($folder.'/vendor/autoload.php')) {
                $projectDir = $folder;
            }
        }
    }
    if (null === $projectDir || !is_file($projectDir.'/vendor/autoload.php')) {
        $reason = sprintf('There is no vendor/autoload.php in %s: set APP_PROJECT_DIR to the application\'s folder', $projectDir ?? 'any folder above '.__DIR__);
        error_log($reason);
        header('X-Fervo-Error: '.$reason);
        header('X-Fervo-Outcome: retry');

        return;
    }

    if (is_file($projectDir.'/vendor/autoload_runtime.php')) {
        // As public/index.php: with the runtime that composer.json asks for, and its options. It ends the script.
        $script = $_SERVER['SCRIPT_FILENAME'] ?? __FILE__;
        $_SERVER['SCRIPT_FILENAME'] = __DIR__.'/fervo-runtime.php';
        try {
            require $projectDir.'/vendor/autoload_runtime.php';
        } catch (Throwable $error) {
            require_once $projectDir.'/vendor/autoload.php';
            if (FrontController::isCalled()) {
                throw $error;
            }
            FrontController::run(static fn () => throw $error);

            return;
        }
        // It does nothing where somebody has loaded autoload.php before, such as auto_prepend_file.
        $_SERVER['SCRIPT_FILENAME'] = $script;
    }

    require_once $projectDir.'/vendor/autoload.php';
    FrontController::run(static fn () => ApplicationKernel::create($projectDir));
})();
