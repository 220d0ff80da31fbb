<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

/**
 * A transaction, or a savepoint in one, and who wants to know whether what was done in it was committed.
 *
 * @internal
 */
final class TransactionScope
{
    /** @var list<\Closure(bool): void> */
    private array $callbacks = [];

    /** @param string|null $savepoint its name; null = the transaction itself */
    public function __construct(public readonly ?string $savepoint = null)
    {
    }

    /** @param \Closure(bool): void $callback is told once whether it was committed */
    public function whenEnded(\Closure $callback): void
    {
        $this->callbacks[] = $callback;
    }

    public function isAwaited(): bool
    {
        return [] !== $this->callbacks;
    }

    /** A savepoint that is released: what was done in it is the surrounding scope's from now on. */
    public function mergeInto(self $outer): void
    {
        $outer->callbacks = [...$outer->callbacks, ...$this->callbacks];
        $this->callbacks = [];
    }

    public function end(bool $isCommitted): void
    {
        // Taken out first: a callback may begin a transaction of its own.
        $callbacks = $this->callbacks;
        $this->callbacks = [];
        foreach ($callbacks as $callback) {
            $callback($isCommitted);
        }
    }
}
