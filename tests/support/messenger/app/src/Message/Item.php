<?php

declare(strict_types=1);

namespace App\Message;

/** A batch handler. */
final class Item extends Message
{
}
