<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

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

    /** Settings of PHP that `fervo-worker check --call-script` judges. */
    private const SETTINGS = ['display_errors', 'log_errors', 'memory_limit', 'max_execution_time', 'opcache.enable', 'opcache.validate_timestamps', 'error_log', 'fastcgi.logging'];

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
        // One of these params comes with each request of fervo-worker, and none of them can come from a visitor: below a web root
        // by mistake, nothing runs.
        if (!isset($_SERVER['FERVO_JOB_ID']) && !isset($_SERVER['FERVO_BATCH']) && !isset($_SERVER['FERVO_CHECK'])) {
            http_response_code(403);
            echo "This script is for fervo-worker.\n";

            return;
        }

        // The worker may give up on us; what has begun is still to end in an orderly way.
        ignore_user_abort(true);
        self::noTimeLimit();

        // The request stood in PHP-FPM's listen queue until the worker gave it up: the job runs elsewhere by now. A check has no job,
        // and a deadline for scripts that do not know it.
        $startByMs = $_SERVER['FERVO_START_BY'] ?? $_SERVER['FERVO_DEADLINE'] ?? null;
        if (null !== $startByMs && !isset($_SERVER['FERVO_CHECK']) && microtime(true) * 1000 > (float) $startByMs) {
            return;
        }

        if (isset($_SERVER['FERVO_BATCH'])) {
            BatchAnswer::run((int) $_SERVER['FERVO_BATCH'], fopen('php://input', 'r') ?: throw new \LogicException('PHP has no input.'), self::boot($kernel, $hasErrorHandler));

            return;
        }

        // Before a listener can change it.
        $jobId = $_SERVER['FERVO_JOB_ID'] ?? '';
        self::dropOutput();
        $run = self::boot($kernel, $hasErrorHandler);
        if ($run instanceof Outcome) {
            $outcome = $run;
        } elseif (isset($_SERVER['FERVO_CHECK'])) {
            // From `fervo-worker check`: there is no job, and all is well as far as the container goes.
            $outcome = Outcome::ack();
        } else {
            $outcome = $run->run($_SERVER['DEFERRED_DATA'] ?? file_get_contents('php://input'));
        }
        // The answer comes behind what listeners have left for the end of the script: when that fails or exits, no word comes, and
        // the attempt has failed. Destructors run later still.
        set_exception_handler(null); // Symfony's would keep PHP from ending there.
        register_shutdown_function(static fn () => self::answer($jobId, $outcome));
    }

    /** PHP-FPM's default of 30 s counts CPU time, and would end a job without a word: the worker has a limit of its own. */
    public static function noTimeLimit(): void
    {
        if (0 !== (int) \ini_get('max_execution_time')) {
            set_time_limit(0);
        }
    }

    /** What a job prints is kept back, so that headers can still be sent, and is of no use to anyone. */
    public static function dropOutput(): void
    {
        ob_start(static fn (): string => '', 65536);
    }

    /** Writes a record into the body, at once, and drops what was printed before. */
    public static function write(string $record): void
    {
        self::endBuffers();
        echo $record;
        flush();
    }

    public static function endBuffers(): void
    {
        while (ob_get_level() > 0 && ob_end_clean()) {
        }
    }

    /** @param \Closure(): KernelInterface $kernel */
    private static function boot(\Closure $kernel, bool $hasErrorHandler): JobRunner|Outcome
    {
        try {
            $kernel = $kernel();
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
        } catch (\Throwable $error) {
            error_log((string) $error);

            return Outcome::failed($error);
        }
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

    /** PHP-FPM reports success whatever happens, so the worker believes in nothing but this. */
    private static function answer(string $jobId, Outcome $outcome): void
    {
        if (headers_sent()) {
            // A listener has flushed, or has ended our buffer.
            self::write($outcome->toRecord($jobId));
            // A record counts only as the last thing in the body.
            self::dropOutput();

            return;
        }
        header_remove();
        if (isset($_SERVER['FERVO_CHECK'])) {
            header('X-Fervo-Check: '.json_encode(array_combine(self::SETTINGS, array_map(ini_get(...), self::SETTINGS))));
        }
        if (null !== $outcome->error) {
            header('X-Fervo-Error: '.$outcome->error);
            header('X-Fervo-Pid: '.getmypid());
        }
        if (null !== $outcome->delayMs) {
            header('X-Fervo-Delay-Ms: '.$outcome->delayMs);
        }
        header('X-Fervo-Outcome: '.$outcome->kind);
    }
}
