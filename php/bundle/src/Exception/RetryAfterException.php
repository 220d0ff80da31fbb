<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

class RetryAfterException extends \RuntimeException implements RetryAfterExceptionInterface
{
    /** @param int|float $seconds the wait before the next try */
    public function __construct(private readonly int|float $seconds, string $message = '', ?\Throwable $previous = null)
    {
        parent::__construct('' === $message ? sprintf('To be tried again in %s s', $seconds) : $message, 0, $previous);
    }

    public function getRetryDelay(): int
    {
        return (int) round($this->seconds * 1000);
    }
}
