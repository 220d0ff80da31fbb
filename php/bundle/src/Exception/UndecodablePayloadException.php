<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/** A payload with a good signature from which no event can be made, now or later. */
final class UndecodablePayloadException extends \RuntimeException implements ExceptionInterface, UnrecoverableExceptionInterface
{
}
