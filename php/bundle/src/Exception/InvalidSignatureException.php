<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/** A payload that this application has not signed, or that was changed. Nothing of it has been read. */
final class InvalidSignatureException extends \RuntimeException implements ExceptionInterface, UnrecoverableExceptionInterface
{
}
