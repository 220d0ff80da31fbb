<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/** What this bundle itself throws. */
interface ExceptionInterface extends \Throwable
{
}
