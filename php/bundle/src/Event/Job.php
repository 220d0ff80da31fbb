<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Event;

/** What fervo-worker says of the job that runs. */
final class Job
{
    /**
     * @param string $id          the same at each try
     * @param int    $attempt     1 is the first try
     * @param int    $maxAttempts 0 where it is not known
     * @param bool   $isRepeat    this try may have been begun before
     */
    public function __construct(
        public readonly string $id,
        public readonly string $queue,
        public readonly int $attempt,
        public readonly int $maxAttempts,
        public readonly bool $isRepeat = false,
    ) {
    }

    /**
     * @internal
     *
     * @param array<string, mixed> $variables those of docs/protocol.md: params of the request, or the environment of a process
     */
    public static function of(array $variables): self
    {
        return new self(
            (string) ($variables['FERVO_JOB_ID'] ?? ''),
            (string) ($variables['FERVO_QUEUE'] ?? ''),
            (int) ($variables['FERVO_ATTEMPT'] ?? 1),
            (int) ($variables['FERVO_MAX_ATTEMPTS'] ?? 0),
            isset($variables['FERVO_REPEAT']),
        );
    }

    /**
     * For the log.
     *
     * @return array{job: string, queue: string, attempt: int}
     */
    public function context(): array
    {
        return ['job' => $this->id, 'queue' => $this->queue, 'attempt' => $this->attempt];
    }

    /** Nobody tries it again when this try fails. */
    public function isLastAttempt(): bool
    {
        return $this->maxAttempts > 0 && $this->attempt >= $this->maxAttempts;
    }
}
