<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Doctrine\OpenTransactions;
use Fervo\DeferredEventBundle\Exception\OpenTransactionException;
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
        private readonly ?OpenTransactions $openTransactions = null,
    ) {
    }

    /** Never throws. The trace of what a listener throws goes to PHP's error log, which the worker keeps with the job. */
    public function run(string $payload): Outcome
    {
        try {
            $this->dispatch($payload);
            $outcome = Outcome::ack();
        } catch (\Throwable $error) {
            $outcome = Outcome::failed($error);
            error_log((string) $error);
            $this->log($error, $outcome);
        }
        $this->reset();

        return $outcome;
    }

    /** A listener that has returned is not one that is done: not within a transaction, and not while its events are not sent. */
    private function dispatch(string $payload): void
    {
        try {
            try {
                $this->dispatcher->dispatch($payload);
            } finally {
                // Whatever has happened: the next job of a batch must not go on in it.
                $connections = $this->openTransactions?->rollBack() ?? [];
            }
            if ([] !== $connections) {
                throw new OpenTransactionException($connections);
            }
            foreach ($this->outboxes as $outbox) {
                $outbox->flush();
            }
        } catch (\Throwable $error) {
            foreach ($this->outboxes as $outbox) {
                $outbox->jobFailed();
            }
            throw $error;
        }
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
