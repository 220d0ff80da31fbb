<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

class RetryAfterException extends \RuntimeException implements RetryAfterExceptionInterface
{
    /** @param int|float $seconds the wait before the next attempt */
    public function __construct(private readonly int|float $seconds, string $message = '', ?\Throwable $previous = null)
    {
        parent::__construct('' === $message ? sprintf('Runs again in %s s', $seconds) : $message, 0, $previous);
    }

    public function getRetryDelay(): int
    {
        return (int) round($this->seconds * 1000);
    }
}
