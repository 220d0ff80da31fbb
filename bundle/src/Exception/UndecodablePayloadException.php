<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/** A payload with a good signature from which no event can be made, as its class is not there (any more). */
final class UndecodablePayloadException extends \RuntimeException implements ExceptionInterface, UnrecoverableExceptionInterface
{
}
