<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Outbox;
use Psr\Log\LoggerInterface;
use Symfony\Contracts\Service\ResetInterface;

/**
 * Runs one job in the worker's place: dispatch, send what the job itself has deferred, reset the services.
 *
 * @internal
 */
final class JobRunner
{
    /**
     * @param iterable<Outbox>             $outboxes the one that there is, if the job has used it
     * @param \Closure(): LoggerInterface $logger
     */
    public function __construct(
        private readonly PayloadDispatcher $dispatcher,
        private readonly iterable $outboxes,
        private readonly ResetInterface $servicesResetter,
        private readonly \Closure $logger,
    ) {
    }

    /** Never throws. The trace of what a listener throws goes to PHP's error log, which the worker keeps with the job. */
    public function run(string $payload): Outcome
    {
        try {
            try {
                $this->dispatcher->dispatch($payload);
            } finally {
                foreach ($this->outboxes as $outbox) {
                    $outbox->flush();
                }
            }
            $outcome = Outcome::ack();
        } catch (\Throwable $error) {
            $outcome = Outcome::failed($error);
            error_log((string) $error);
            $this->log($error, $outcome);
        }
        $this->reset();

        return $outcome;
    }

    private function log(\Throwable $error, Outcome $outcome): void
    {
        try {
            ($this->logger)()->error('A deferred event failed ({outcome}): {error}', ['outcome' => $outcome->kind, 'error' => $outcome->error, 'exception' => $error]);
        } catch (\Throwable $error) {
            error_log((string) $error);
        }
    }

    /** The job has had its outcome by now: what fails here must not run it again. */
    private function reset(): void
    {
        try {
            $this->servicesResetter->reset();
        } catch (\Throwable $error) {
            error_log((string) $error);
        }
    }
}
