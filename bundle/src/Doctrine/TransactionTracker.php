<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

/**
 * Whether the connection is in a transaction, and when it ends. Of nested ones only the outermost counts.
 *
 * @internal
 */
final class TransactionTracker
{
    private bool $isOpen = false;

    /** @var list<\Closure(bool): void> */
    private array $callbacks = [];

    public function isOpen(): bool
    {
        return $this->isOpen;
    }

    /** @param \Closure(bool): void $callback is told once whether this transaction was committed */
    public function whenEnded(\Closure $callback): void
    {
        $this->callbacks[] = $callback;
    }

    public function begun(): void
    {
        $this->isOpen = true;
    }

    public function ended(bool $isCommitted): void
    {
        $this->isOpen = false;
        $callbacks = $this->callbacks;
        $this->callbacks = [];
        foreach ($callbacks as $callback) {
            $callback($isCommitted);
        }
    }
}
