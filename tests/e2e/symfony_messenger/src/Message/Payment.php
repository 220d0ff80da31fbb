<?php

declare(strict_types=1);

namespace App\Message;

/** Has a failure transport. */
final class Payment extends Work
{
}
