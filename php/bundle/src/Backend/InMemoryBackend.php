<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Fervo\DeferredEventBundle\Messenger\MessageRunner;
use Fervo\DeferredEventBundle\Payload\PayloadCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Worker\PayloadDispatcher;

/**
 * For tests: keeps what was deferred, until it is run or forgotten. A reset of the services, as between two requests of a test's
 * client, keeps it, too.
 */
final class InMemoryBackend implements UniqueBackendInterface
{
    /** @var list<DeferredJob> */
    private array $jobs = [];

    /** @param (\Closure(): MessageRunner)|null $messages where Messenger is enabled */
    public function __construct(
        private readonly PayloadCodec $codec,
        private readonly PayloadDispatcher $dispatcher,
        private readonly ?\Closure $messages = null,
    ) {
    }

    public function send(DeferredJob ...$jobs): void
    {
        foreach ($jobs as $job) {
            if (!$this->isTaken($job)) {
                $this->jobs[] = $job;
            }
        }
    }

    /** @return list<DeferredJob> in the order in which they were deferred */
    public function jobs(): array
    {
        return $this->jobs;
    }

    /**
     * The events as a worker would get them, through their payloads.
     *
     * @return list<object>
     */
    public function events(): array
    {
        return array_map(fn (DeferredJob $job): object => $this->codec->decode($job->payload)->event, $this->filter(isMessage: false));
    }

    /**
     * The messages that Messenger has sent by fervo://, as a worker would get them, through their payloads.
     *
     * @return list<object>
     */
    public function messages(): array
    {
        $messages = null === $this->messages ? null : ($this->messages)();

        return null === $messages ? [] : array_map(
            static fn (DeferredJob $job): object => $messages->envelope($messages->read($job->payload))->getMessage(),
            $this->filter(isMessage: true),
        );
    }

    /**
     * Runs all of them, whatever their delay, and those that they defer themselves. What a listener throws comes out, and the others
     * stay.
     *
     * @return int how many have run
     */
    public function run(): int
    {
        for ($count = 0; null !== $job = array_shift($this->jobs); ++$count) {
            $this->dispatcher->dispatch($job->payload);
        }

        return $count;
    }

    public function clear(): void
    {
        $this->jobs = [];
    }

    private function isTaken(DeferredJob $job): bool
    {
        foreach ($this->jobs as $other) {
            if (null !== $job->unique && $job->unique === $other->unique && $job->queue === $other->queue) {
                return true;
            }
        }

        return false;
    }

    /** @return list<DeferredJob> */
    private function filter(bool $isMessage): array
    {
        return array_values(array_filter($this->jobs, static fn (DeferredJob $job): bool => $isMessage === Signer::isMessage($job->payload)));
    }
}
