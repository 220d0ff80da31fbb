<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\Runner\Runner;
use Symfony\Component\ErrorHandler\Debug;
use Symfony\Component\ErrorHandler\ErrorHandler;
use Symfony\Component\HttpKernel\KernelInterface;
use Symfony\Component\Runtime\RunnerInterface;

/**
 * What PHP-FPM runs for each request of fervo-worker. The bundle's bin/fervo-run.php calls it. A front controller of
 * one's own is these two lines.
 *
 *     require dirname(__DIR__).'/vendor/autoload.php';
 *     FrontController::run(static fn () => new App\Kernel('prod', false));
 *
 * or, with symfony/runtime,
 *
 *     require_once dirname(__DIR__).'/vendor/autoload_runtime.php';
 *     return static fn (array $context) => FrontController::runner(static fn () => new App\Kernel($context['APP_ENV'], (bool) $context['APP_DEBUG']));
 */
final class FrontController
{
    private const RUNNER = 'fervo_deferred_event.runner';

    private static bool $isCalled = false;

    /**
     * For symfony/runtime to run.
     *
     * @param \Closure(): KernelInterface $kernel as of run()
     */
    public static function runner(\Closure $kernel): RunnerInterface
    {
        return new RuntimeRunner($kernel);
    }

    /** @internal whether this request has been taken up */
    public static function isCalled(): bool
    {
        return self::$isCalled;
    }

    /**
     * @param \Closure(): KernelInterface $kernel          called once, and not at all for a request that has come too late
     * @param bool                        $hasErrorHandler of its own, as with symfony/runtime; else it gets Symfony's
     */
    public static function run(\Closure $kernel, bool $hasErrorHandler = false): void
    {
        self::$isCalled = true;
        Runner::serve(static fn (): JobRunner => self::boot($kernel(), $hasErrorHandler), payloadParam: 'DEFERRED_DATA');
    }

    private static function boot(KernelInterface $kernel, bool $hasErrorHandler): JobRunner
    {
        if (!$hasErrorHandler) {
            self::handleErrors($kernel->isDebug());
        }
        $kernel->boot();
        if (!$kernel->getContainer()->has(self::RUNNER)) {
            throw new \LogicException(sprintf('FervoDeferredEventBundle is not enabled in the environment "%s": see config/bundles.php.', $kernel->getEnvironment()));
        }
        $runner = $kernel->getContainer()->get(self::RUNNER);
        \assert($runner instanceof JobRunner);

        return $runner;
    }

    /**
     * As in the application's other entry points, where Symfony's runtime does it: a warning is an exception in debug mode, and in the
     * application's log else. FrameworkBundle gives the handler its logger.
     */
    private static function handleErrors(bool $debug): void
    {
        if (class_exists(ErrorHandler::class)) {
            $debug ? Debug::enable() : ErrorHandler::register();
        }
    }
}
