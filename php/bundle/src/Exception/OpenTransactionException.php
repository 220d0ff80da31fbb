<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/** A job has ended within a transaction, which was rolled back: nothing that was done in it is done. */
final class OpenTransactionException extends \LogicException implements ExceptionInterface
{
    /** @param non-empty-list<string> $connections their names */
    public function __construct(array $connections, ?\Throwable $previous = null)
    {
        parent::__construct(sprintf('The job left a transaction open on the connection "%s"; it was rolled back. Commit it, or use Connection::transactional().', implode('", "', $connections)), 0, $previous);
    }
}
